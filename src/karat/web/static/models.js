// Costs and calls: what is chosen goes into the address.
import { plain } from "/static/app.js";

const usual = (field) => !field.value || (field.name === "by" && field.value === "model");
plain(document.getElementById("view"), usual);
