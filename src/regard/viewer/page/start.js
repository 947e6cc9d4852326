// Opens the page with the records that were written into it.

import { Page } from "./page.js";

new Page(document.body, JSON.parse(document.getElementById("regard-data").textContent));
