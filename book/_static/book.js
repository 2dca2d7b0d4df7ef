// The theme takes the focus away from a button that is used, and so what this opened could not give it back.
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".bd-header-article button")) button.blur = () => {};
});
