// The theme takes the focus away from a button that is used, and so what this opened could not give it back.
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".bd-header-article button")) button.blur = () => {};
});

if (window.MathJax) {
  MathJax.startup = {
    // Where MathJax breaks a formula that is too wide, a function keeps its arguments.
    ready() {
      MathJax.startup.defaultReady();
      const { NOBREAK } = MathJax._.output.common.LinebreakVisitor;
      const { TEXCLASS } = MathJax._.core.MmlTree.MmlNode;
      const { linebreaks } = MathJax.startup.output;
      linebreaks.FACTORS.open = linebreaks.FACTORS.close = () => NOBREAK;
      linebreaks.TEXCLASS[TEXCLASS.PUNCT] = () => NOBREAK;
    },
    // A few at a time, the first in sight first: all at once would freeze a telephone for many seconds.
    async pageReady() {
      const formulas = [...document.querySelectorAll(".math")];
      const seen = formulas.findIndex((formula) => formula.getBoundingClientRect().bottom > 0);
      formulas.push(...formulas.splice(0, seen));
      while (formulas.length > 0) {
        await MathJax.typesetPromise(formulas.splice(0, 25));
        await new Promise((others) => setTimeout(others));
      }
    },
  };
}
