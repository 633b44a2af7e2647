// A choice in the form is shown at once; without this script its button does it.
const form = document.getElementById("view");
const button = form.querySelector("button");
button.hidden = true;

// What is not asked is left out of the address.
function go() {
  const asked = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value && !(name === "by" && value === "model")) asked.set(name, value);
  }
  const query = asked.toString();
  location.assign(form.getAttribute("action") + (query ? `?${query}` : ""));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});
for (const field of form.querySelectorAll("select")) field.addEventListener("change", go);
// A date is changed digit by digit: it counts when it is left, or with Enter.
for (const field of form.querySelectorAll("input[type=date]")) {
  const before = field.value;
  field.addEventListener("blur", () => {
    if (field.value !== before) go();
  });
}
