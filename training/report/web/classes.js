// The accuracy of every class: searched, sorted by its heads, a page at a time.
// Without this script the table has the hardest classes alone.

const CLASSES_A_PAGE = 25;
const percents = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percentOf = (share) => percents.format(100 * share);

function meter(share) {
  const { namespaceURI } = document.querySelector("svg"); // the rows that were there before the script have one
  const svg = document.createElementNS(namespaceURI, "svg");
  const values = { class: "bar meter", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" };
  for (const [name, value] of Object.entries(values)) svg.setAttribute(name, value);
  const rect = document.createElementNS(namespaceURI, "rect");
  for (const [name, value] of [["class", "part0"], ["width", 100 * share], ["height", 10]]) rect.setAttribute(name, value);
  svg.append(rect);
  return svg;
}

class ClassTable {
  // `choose` is called with a class whose name is pressed; without it names are no buttons.
  constructor(answers, section, choose) {
    Object.assign(this, { answers, choose, column: "accuracy", direction: 1 });
    const { glosses, clips, right, low } = answers;
    this.order = glosses.map((_, place) => place).filter((place) => clips[place]);
    this.taken = glosses.map(() => ({ times: 0, answered: null }));
    answers.cells.times.forEach((times, cell) => {
      const [row, answered] = [answers.cells.right[cell], answers.cells.answered[cell]];
      if (row !== answered && times > this.taken[row].times) this.taken[row] = { times, answered };
    });
    const names = new Int32Array(glosses.length);
    [...glosses.keys()].sort((a, b) => byName(glosses[a], glosses[b])).forEach((place, rank) => (names[place] = rank));
    this.keys = {
      gloss: (place) => names[place],
      accuracy: (place) => right[place] / clips[place],
      interval: (place) => low[place],
      correct: (place) => clips[place],
      taken: (place) => this.taken[place].times,
    };
    this.body = section.querySelector("tbody");
    this.heads = [...section.querySelectorAll("thead th")];
    this.heads.forEach((head) => {
      const button = make("button", { type: "button", onclick: () => this.sortBy(head.dataset.column) }, ...head.childNodes);
      head.append(button);
    });
    const [search, pages] = [section.querySelector("input"), section.querySelector(".pager")];
    this.told = section.querySelector("output");
    search.closest("[hidden]").hidden = false;
    search.addEventListener("input", () => this.show(search.value));
    this.pager = new Pager(pages, CLASSES_A_PAGE, (first, end) => this.draw(first, end));
    this.show("");
  }

  show(typed) {
    const matches = glossMatcher(typed);
    this.found = this.order.filter((place) => matches(this.answers.glosses[place]));
    this.told.textContent = `${numbers.format(this.found.length)} / ${numbers.format(this.order.length)}`;
    this.sort();
  }

  sortBy(column) {
    this.direction = this.column === column ? -this.direction : 1;
    this.column = column;
    this.sort();
  }

  sort() {
    const [key, { clips }] = [this.keys[this.column], this.answers];
    // Of equally hard classes, those with more clips are the surer finding.
    this.found.sort((a, b) => this.direction * (key(a) - key(b)) || clips[b] - clips[a] || a - b);
    for (const head of this.heads) {
      if (head.dataset.column !== this.column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.direction > 0 ? "ascending" : "descending");
    }
    this.pager.reset(this.found.length);
  }

  draw(first, end) {
    this.body.replaceChildren(...this.found.slice(first, end).map((place) => this.row(place)));
  }

  row(place) {
    const { glosses, clips, right, low, high } = this.answers;
    const { times, answered } = this.taken[place];
    const name = this.choose ? make("button", { type: "button", onclick: () => this.choose(place) }, glosses[place]) : glosses[place];
    const share = right[place] / clips[place];
    const cells = [
      [make("bdi", {}, name), "name"],
      [`${percentOf(share)} %`],
      [`${percentOf(low[place])} – ${percentOf(high[place])}`],
      [`${numbers.format(right[place])} / ${numbers.format(clips[place])}`],
      [answered === null ? ABSENT : make("bdi", {}, `${glosses[answered]} (${numbers.format(times)})`), "name taken"],
    ].map(([content, kind]) => make("td", { class: kind }, content));
    cells[1].append(meter(share));
    return make("tr", {}, ...cells);
  }
}
