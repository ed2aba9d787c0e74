// Draws every formula of a page, and lets readers copy its LaTeX. Without JavaScript the LaTeX itself stays readable.
document.addEventListener("DOMContentLoaded", () => {
  for (const place of document.querySelectorAll(".formula")) {
    const latex = place.textContent.trim();
    const alone = place.tagName === "DIV";
    katex.render(latex, place, { displayMode: alone, throwOnError: false });
    if (!alone) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-latex";
    button.textContent = "Copy LaTeX";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(latex);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select the formula and copy it"; // pages from file:// may lack the clipboard
      }
      setTimeout(() => { button.textContent = "Copy LaTeX"; }, 2000);
    });
    place.append(button);
  }
});
