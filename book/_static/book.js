// The theme takes the focus away from a button that is used, and so what this opened could not give it back.
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".bd-header-article button")) button.blur = () => {};
});

// Where MathJax breaks a formula that is too wide, a function keeps its arguments.
if (window.MathJax) {
  (MathJax.startup ??= {}).ready = () => {
    MathJax.startup.defaultReady();
    const { NOBREAK } = MathJax._.output.common.LinebreakVisitor;
    const { TEXCLASS } = MathJax._.core.MmlTree.MmlNode;
    const { linebreaks } = MathJax.startup.output;
    linebreaks.FACTORS.open = linebreaks.FACTORS.close = () => NOBREAK;
    linebreaks.TEXCLASS[TEXCLASS.PUNCT] = () => NOBREAK;
  };
}
