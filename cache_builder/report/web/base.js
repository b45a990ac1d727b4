// What all parts of the page share: unpacking the clips, making elements, writing numbers.
// Names reach the page as text nodes only, never as HTML.

const ABSENT = "–";
const PICTURE_WORD = "Moving picture of";

async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const numbers = new Intl.NumberFormat("en-US");
const counted = (number, noun, nouns = `${noun}s`) => `${numbers.format(number)} ${number === 1 ? noun : nouns}`;
const byName = new Intl.Collator("ko", { numeric: true }).compare;
const shown = (name) => name ?? ABSENT;
const nameOf = (clips, column, clip) => shown(clips[column].names[clips[column].codes[clip]]);
const secondsOf = (clips, clip) => `${clips.start[clip].toFixed(2)}–${clips.end[clip].toFixed(2)} s`;
const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);
// A long name as nodes that may break into lines behind each underscore.
const breakable = (name) => name.split("_").flatMap((part, place) => (place ? ["_", make("wbr"), part] : [part]));

// The clips of each name of a column, as arrays of places, in their order.
function grouped(codes, numNames) {
  const groups = Array.from({ length: numNames }, () => []);
  codes.forEach((code, clip) => groups[code].push(clip));
  return groups;
}
