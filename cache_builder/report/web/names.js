// Names of clips, and the clips of each name.

const PICTURE_WORD = "Moving picture of";
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
