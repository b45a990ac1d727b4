// Which word there is by which signer from which view: a row a word, a column a signer, a box a view.
// What is missing where the signer has signed the word stands out; a word that a signer has not signed is faint.

const WORDS_A_PAGE = 40;
const MOST_SIGNERS = 100;

class CoverageMatrix {
  constructor(clips, place, choose) {
    Object.assign(this, { clips, choose, words: [] });
    this.order = make("select", { id: "word-order", onchange: () => this.sort() });
    this.order.append(make("option", {}, "most missing first"), make("option", {}, "as in the vocabulary"));
    const key = (kind, text) => [make("span", { class: `box ${kind}` }), ` ${text}`];
    const legend = make("p", { class: "tools" }, make("label", { for: "word-order", class: "screen" }, "order ", this.order));
    for (const parts of [key("has", wordOf("clips")), key("lacks", "view missing"), key("failed", wordOf("failed")), key("none", "no clip")]) {
      legend.append(make("span", { class: "key" }, ...parts));
    }
    this.told = make("p", { class: "small" });
    this.scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Words by signer and view" });
    const pages = make("nav", { class: "pager screen", "aria-label": "Pages of words" });
    place.append(make("h3", {}, "Word by word"), legend, this.told, this.scroll, pages);
    this.pager = new Pager(pages, WORDS_A_PAGE, (first, end) => this.draw(first, end));
  }

  show(chosen, glosses) {
    const { signer, view, gloss } = this.clips;
    const clipsOf = new Int32Array(signer.names.length);
    const hasView = new Uint8Array(view.names.length);
    for (const clip of chosen) {
      clipsOf[signer.codes[clip]]++;
      hasView[view.codes[clip]] = 1;
    }
    // Clips of unknown signers or views, beside those of known ones, are none that others could miss.
    const known = (column, code) => column.names.length === 1 || column.names[code] !== null;
    const all = [...clipsOf.keys()].filter((code) => clipsOf[code] && known(signer, code));
    this.signers = all.sort((a, b) => clipsOf[b] - clipsOf[a]).slice(0, MOST_SIGNERS).sort((a, b) => a - b);
    this.views = [...hasView.keys()].filter((code) => hasView[code] && known(view, code));
    this.told.textContent = all.length > MOST_SIGNERS ? `The ${MOST_SIGNERS} signers with the most clips of ${numbers.format(all.length)}.` : "";
    const places = new Int32Array(signer.names.length).fill(-1);
    this.signers.forEach((code, place) => (places[code] = place));
    const [numSigners, numViews] = [this.signers.length, view.names.length];
    this.num = new Uint16Array(gloss.names.length * numSigners * numViews);
    this.numFailed = new Uint16Array(this.num.length);
    const isWanted = new Uint8Array(gloss.names.length);
    for (const clip of chosen) {
      const word = gloss.codes[clip];
      isWanted[word] = 1;
      const place = places[signer.codes[clip]];
      if (place < 0) continue;
      const cell = (word * numSigners + place) * numViews + view.codes[clip];
      (this.clips.ok[clip] ? this.num : this.numFailed)[cell]++;
    }
    this.all = [...isWanted.keys()].filter((word) => isWanted[word] && glosses[word]);
    this.missing = new Map(this.all.map((word) => [word, this.missingOf(word)]));
    this.sort();
  }

  cellOf(word, place, view) {
    return (word * this.signers.length + place) * this.clips.view.names.length + view;
  }

  // Views missing where the signer has signed the word weigh most, then words that a signer has not signed.
  missingOf(word) {
    let weight = 0;
    for (let place = 0; place < this.signers.length; place++) {
      const lacking = this.views.filter((view) => !this.num[this.cellOf(word, place, view)]).length;
      weight += lacking === this.views.length ? 1 : lacking * 1000;
    }
    return weight;
  }

  sort() {
    const isByMissing = this.order.selectedIndex === 0;
    this.words = isByMissing ? [...this.all].sort((a, b) => this.missing.get(b) - this.missing.get(a)) : this.all;
    this.pager.reset(this.words.length);
  }

  draw(first, end) {
    const { signer, gloss } = this.clips;
    const heads = this.signers.map((code) => make("th", { scope: "col" }, make("span", {}, shown(signer.names[code]))));
    const rows = this.words.slice(first, end).map((word) => {
      const name = shown(gloss.names[word]);
      const choose = make("button", { type: "button", title: "Only this class", onclick: () => this.choose(name) }, name);
      return make("tr", {}, make("th", { scope: "row", class: "name" }, choose), ...this.signers.map((_, place) => this.cell(word, place)));
    });
    const views = this.views.map((code) => shown(this.clips.view.names[code])).join(", ");
    const head = make("tr", {}, make("th", { class: "name" }, this.views.length > 1 ? `views ${views}` : wordOf("word")), ...heads);
    this.scroll.replaceChildren(make("table", { class: "matrix" }, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  cell(word, place) {
    const boxes = this.views.map((view) => {
      const cell = this.cellOf(word, place, view);
      return { name: shown(this.clips.view.names[view]), num: this.num[cell], numFailed: this.numFailed[cell] };
    });
    const isSigned = boxes.some(({ num, numFailed }) => num || numFailed);
    const kindOf = ({ num, numFailed }) => (num ? "has" : numFailed ? "failed" : isSigned ? "lacks" : "none");
    const parts = boxes.map((box) => `${box.name} ${box.num || wordOf(box.numFailed ? "failed" : "missing")}`);
    const told = isSigned ? parts.join(", ") : "no clip";
    const signer = shown(this.clips.signer.names[this.signers[place]]);
    const spans = boxes.map((box) => make("span", { class: `box ${kindOf(box)}`, "aria-hidden": "true" }));
    return make("td", { title: `${signer}: ${told}` }, ...spans, make("span", { class: "unseen" }, told));
  }
}
