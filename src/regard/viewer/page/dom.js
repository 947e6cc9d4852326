// Elements made in one line; text is set as text, never as markup.

export function element(tag, className = "", ...children) {
  const one = document.createElement(tag);
  if (className) one.className = className;
  one.append(...children);
  return one;
}

/** A word in its own direction, apart from the line it stands in. */
export function spoken(word) {
  const one = element("bdi", "word", word);
  one.dir = "auto";
  return one;
}

export function say(one, text) {
  one.dir = "auto";
  one.textContent = text;
}

export function heading(scope, word) {
  const one = element("th", "", spoken(word));
  one.scope = scope;
  return one;
}

/** Fills a table with the cells of its head and of each row. */
export function fillTable(table, head, rows) {
  const lines = rows.map((cells) => element("tr", "", ...cells));
  table.replaceChildren(element("thead", "", element("tr", "", ...head)), element("tbody", "", ...lines));
}

/** Fills a select with [value, text] pairs, or [name of a group, pairs]. */
export function fillSelect(select, choices, chosen) {
  const option = ([value, text]) => {
    if (!Array.isArray(text)) return new Option(text, value);
    const group = element("optgroup", "", ...text.map(option));
    group.label = value;
    return group;
  };
  select.replaceChildren(...choices.map(option));
  select.value = chosen;
}

/** A bar in a track, `share` of 1 long. */
export function barOf(share) {
  const bar = element("span", "bar");
  bar.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return element("span", "track", bar);
}
