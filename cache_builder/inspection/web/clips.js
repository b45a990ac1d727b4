// Every chosen clip, with its source video and seconds, in any order.

const CLIPS_A_PAGE = 50;

class ClipList {
  constructor(clips, pictures, place) {
    Object.assign(this, { clips, pictures, order: "clip", direction: 1 });
    const several = COLUMNS.filter((column) => clips[column].names.length > 1);
    const compare = (a, b) => shown(a).localeCompare(shown(b), "ko", { numeric: true });
    this.columns = new Map([["clip", { text: (clip) => String(clips.position[clip]), key: (clip) => clips.position[clip] }]]);
    for (const column of ["gloss", ...several, "video"]) {
      // A place in the order of names is compared much faster than names are.
      const { names, codes } = clips[column];
      const ranks = [];
      [...names.keys()].sort((a, b) => compare(names[a], names[b])).forEach((code, rank) => (ranks[code] = rank));
      this.columns.set(column, { text: (clip) => nameOf(clips, column, clip), key: (clip) => ranks[codes[clip]], isName: true });
    }
    this.columns.set("from", { text: (clip) => clips.start[clip].toFixed(2), key: (clip) => clips.start[clip] });
    this.columns.set("to", { text: (clip) => clips.end[clip].toFixed(2), key: (clip) => clips.end[clip] });
    const lasts = (clip) => clips.end[clip] - clips.start[clip];
    this.columns.set("seconds", { text: (clip) => lasts(clip).toFixed(2), key: lasts });
    this.body = make("tbody");
    this.heads = [...this.columns].map(([name, { isName }]) => {
      const button = make("button", { type: "button", onclick: () => this.sortBy(name) }, name);
      return make("th", { scope: "col", class: isName ? "name" : null }, button);
    });
    const table = make("table", { class: "clips" }, make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    const pages = make("nav", { class: "pager screen", "aria-label": "Pages of clips" });
    place.append(make("div", { class: "scroll" }, table), pages);
    this.pager = new Pager(pages, CLIPS_A_PAGE, (first, end) => this.draw(first, end));
  }

  show(chosen) {
    this.chosen = chosen;
    this.sort();
  }

  sortBy(name) {
    this.direction = this.order === name ? -this.direction : 1;
    this.order = name;
    this.sort();
  }

  sort() {
    const { key } = this.columns.get(this.order);
    this.sorted = [...this.chosen].sort((a, b) => this.direction * (key(a) - key(b)) || a - b);
    [...this.columns.keys()].forEach((name, place) => {
      const sorted = this.direction > 0 ? "ascending" : "descending";
      if (name === this.order) this.heads[place].setAttribute("aria-sort", sorted);
      else this.heads[place].removeAttribute("aria-sort");
    });
    this.pager.reset(this.sorted.length);
  }

  draw(first, end) {
    this.body.replaceChildren(...this.sorted.slice(first, end).map((clip) => this.row(clip)));
  }

  row(clip) {
    const cells = [...this.columns].map(([name, { text, isName }]) => {
      const open = () => this.pictures.open(clip);
      const content = name === "clip" ? make("button", { type: "button", title: "Show this clip", onclick: open }, text(clip)) : text(clip);
      return make("td", { class: isName ? "name" : null }, content);
    });
    if (!this.clips.ok[clip]) cells[1].append(make("span", { class: "gravity wrong" }, "failed"));
    return make("tr", {}, ...cells);
  }
}
