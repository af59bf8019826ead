// The board: filters, search and sorting. Without this script the page still shows every claim.
"use strict";
(() => {
  const form = document.getElementById("filters");
  const body = document.querySelector("#claims tbody");
  if (!form || !body) return;
  form.hidden = false;
  const fields = ["paper", "verdict", "kind", "tier", "origin", "q"].map((name) => form.elements[name]);
  const authors = new Map([...form.elements.paper.options].map((option) => [option.value, option.dataset.words]));
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase(); // Veličković is found without his accents
  const entries = [...body.rows].map((row, place) => ({
    row, place, data: row.dataset, text: plain(`${row.textContent} ${authors.get(row.dataset.paper)} ${row.dataset.words}`),
  }));
  const heads = [...document.querySelectorAll("#claims th[data-key]")];
  const count = document.getElementById("count");
  const format = new Intl.NumberFormat("en");
  let sort = "";

  function compare(key, sign) {
    const text = key === "claim";
    return (a, b) => {
      const x = a.data[key], y = b.data[key];
      if (x === y) return a.place - b.place;
      if (x === "" || y === "") return x === "" ? 1 : -1; // what has no number comes last, either way
      return sign * (text ? x.localeCompare(y) : Number(x) - Number(y));
    };
  }

  function order(wanted) {
    sort = wanted;
    const down = sort.startsWith("-"), key = sort.replace("-", "");
    const known = heads.some((head) => head.dataset.key === key);
    const sorted = known ? [...entries].sort(compare(key, down ? -1 : 1)) : entries;
    body.append(...sorted.map((entry) => entry.row));
    for (const head of heads) {
      head.setAttribute("aria-sort", head.dataset.key !== key ? "none" : down ? "descending" : "ascending");
    }
  }

  function filter() {
    const [paper, verdict, kind, tier, origin, query] = fields.map((field) => field.value);
    const words = plain(query).split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, data, text } of entries) {
      const fits = (!paper || data.paper === paper) && (!verdict || data.outcome === verdict)
        && (!kind || data.kind === kind) && (!tier || data.tier === tier) && (!origin || data.origin === origin)
        && words.every((word) => text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${format.format(shown)} of ${format.format(entries.length)} claims`;
  }

  function remember() {
    const state = new URLSearchParams();
    for (const field of fields) if (field.value) state.set(field.name, field.value);
    if (sort) state.set("sort", sort);
    history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search);
  }

  function recall() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return false; // an anchor within the page
    const state = new URLSearchParams(hash);
    for (const field of fields) {
      field.value = state.get(field.name) ?? "";
      if (field.selectedIndex === -1) field.value = ""; // a value that this page does not have
    }
    order(state.get("sort") ?? "");
    filter();
    return hash !== "";
  }

  form.addEventListener("input", () => { filter(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { order(""); filter(); remember(); }));
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const key = head.dataset.key;
      order(sort === key ? `-${key}` : sort === `-${key}` ? "" : key);
      remember();
    });
  }
  addEventListener("hashchange", () => {
    if (recall()) document.getElementById("board").scrollIntoView();
  });
  if (!recall()) { order(""); filter(); }
})();
