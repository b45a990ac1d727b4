// A long list, a page at a time.

class Pager {
  constructor(place, pageSize, draw) {
    Object.assign(this, { pageSize, draw, length: 0, page: 0 });
    this.told = make("span", { "aria-live": "polite" });
    this.buttons = [
      ["First", () => 0],
      ["Previous", () => this.page - 1],
      ["Next", () => this.page + 1],
      ["Last", () => this.lastPage],
    ].map(([text, target]) => make("button", { type: "button", onclick: () => this.show(target()) }, text));
    const [first, previous, next, last] = this.buttons;
    place.append(first, previous, this.told, next, last);
    this.place = place;
  }

  get lastPage() {
    return Math.max(0, Math.ceil(this.length / this.pageSize) - 1);
  }

  reset(length) {
    this.length = length;
    this.show(0);
  }

  show(page) {
    this.page = Math.min(Math.max(0, page), this.lastPage);
    const first = this.page * this.pageSize;
    const end = Math.min(first + this.pageSize, this.length);
    this.told.textContent = `${numbers.format(first + Math.min(1, end))}–${numbers.format(end)} of ${numbers.format(this.length)}`;
    const [isFirst, isLast] = [this.page === 0, this.page === this.lastPage];
    this.buttons.forEach((button, place) => (button.disabled = place < 2 ? isFirst : isLast));
    this.place.hidden = this.length <= this.pageSize;
    this.draw(first, end);
  }
}
