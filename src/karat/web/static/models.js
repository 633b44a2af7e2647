// An empty field is no filter: addresses hold what was asked and nothing else.
const form = document.getElementById("view");
const usual = (field) => !field.value || (field.name === "by" && field.value === "model");

form.addEventListener("submit", () => {
  for (const field of form.elements) if (field.name && usual(field)) field.disabled = true;
});
addEventListener("pageshow", () => {
  for (const field of form.querySelectorAll("[disabled]")) field.disabled = false;
});
