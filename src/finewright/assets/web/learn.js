// Optional: shows that a check is running, and moves the focus to its result.
"use strict";

for (const form of document.querySelectorAll("form[data-busy]")) {
  form.addEventListener("submit", () => {
    document.getElementById("busy").textContent = form.dataset.busy;
    for (const button of document.querySelectorAll("button")) {
      button.disabled = true;
    }
  });
}

window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    location.reload();
  }
});

const result = document.getElementById("result");
if (result && location.hash === "#result") {
  result.focus();
}
