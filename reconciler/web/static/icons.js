// The page's few symbols, drawn as strokes in the colour of the text around them.

const PATHS = {
  check: "M3 8.5 6.5 12 13 4.5",
  cross: "m4 4 8 8m0-8-8 8",
  alert: "M8 2 1.5 13.500h13zM8 6.500v3.200m0 1.800v.1",
  lock: "M4 7h8v6.500H4zm1.7 0V5a2.3 2.3 0 0 1 4.6 0v2",
  pause: "M5.5 3.500v9m5-9v9",
  play: "m5 3 7.5 5L5 13z",
  turn: "M13 7.500A5 5 0 0 0 3.7 5.300M3 8.500a5 5 0 0 0 9.3 2.200M13 3.500v4H9m-6 5v-4h4",
  dot: "M8 7.900v.2",
  back: "M6 3 2.5 6.5 6 10m-3.5-3.500H10a3.5 3.5 0 0 1 0 7H7",
  arrow: "M3 8h10M9 4l4 4-4 4",
  circle: "M8 2.500a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z",
  wrench: "M13.8 4.200a3.6 3.6 0 0 1-5 4.300L4.300 13A1.600 1.600 0 0 1 2 10.700l4.500-4.500a3.6 3.6 0 0 1 4.300-5L8.700 3.300v2.100h2.100z",
  down: "M8 2.500V10M4.5 7 8 10.5 11.5 7M3 13.500h10",
};

/** A symbol that says nothing to a screen reader: the words stand beside it. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `icon ${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return svg;
}
