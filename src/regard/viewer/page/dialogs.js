// What `?` and `/` open: the keys, and a search for a token.

import { element, spoken } from "./dom.js";

/** Wires both dialogs to a page; the function returned opens one, if the key pressed is its own. */
export function dialogs(page) {
  const [keys, search, wanted, found] = ["help", "search", "wanted", "found"].map(page.find);
  const find = () => {
    const text = wanted.value.toLowerCase();
    const { record } = page;
    const matches = [...hits(record.keys, text, "key"), ...(record.same ? [] : hits(record.queries, text, "query"))];
    found.replaceChildren(...matches.slice(0, 12).map(([side, index, word]) => {
      const button = element("button", "", spoken(word), element("span", "aside", `${side === "key" ? "input" : "output"} ${index + 1}`));
      button.type = "button";
      button.addEventListener("click", () => {
        search.close();
        page.seek(side, index);
      });
      return element("li", "", button);
    }));
    page.find("count").textContent = text ? `${matches.length} found` : "";
  };
  wanted.addEventListener("input", find);
  wanted.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    found.querySelector("button")?.click();
  });
  for (const one of [keys, search]) one.querySelector("[data-close]").addEventListener("click", () => one.close());
  page.find("ask").addEventListener("click", () => keys.showModal());
  page.find("seek").addEventListener("click", () => openSearch());
  const openSearch = () => {
    wanted.value = "";
    find();
    search.showModal();
    wanted.focus();
  };
  return (event) => {
    if (event.key === "?") keys.showModal();
    if (event.key !== "/") return;
    event.preventDefault();
    openSearch();
  };
}

/** Words that hold a text, those that begin with it first. */
function hits(words, text, side) {
  if (!text) return [];
  const all = words.map((word, index) => [side, index, word]).filter(([, , word]) => word.toLowerCase().includes(text));
  const begins = ([, , word]) => word.toLowerCase().startsWith(text);
  return [...all.filter(begins), ...all.filter((one) => !begins(one))];
}
