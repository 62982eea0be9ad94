// Points in time as people say them ("2 min ago"), with the full one as a title, kept current.

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

/** The time of day, "12:03:11". */
export const ofDay = (date) => clock.format(date);

/** The date and time in full, or the text itself if it is not a date. */
export function inFull(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.valueOf()) ? String(iso) : full.format(date);
}

/** How far `iso` is from `now`, in words. */
export function relative(iso, now = Date.now()) {
  const distance = (new Date(iso).valueOf() - now) / 1000;
  if (Number.isNaN(distance)) return String(iso);
  const size = Math.abs(distance);
  if (size < 10) return distance > 0 ? "in a moment" : "just now";
  const [unit, length] = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ].find(([, least]) => size >= least * (least === 86400 ? 2 : 1));
  const words = `${Math.round(size / length)} ${unit === "d" ? "days" : unit}`;
  return distance > 0 ? `in ${words}` : `${words} ago`;
}

/** A <time> that stays current. */
export function stamp(iso) {
  const node = document.createElement("time");
  node.dateTime = iso;
  node.title = inFull(iso);
  node.textContent = relative(iso);
  return node;
}

/** Points an existing <time> at another moment. */
export function restamp(node, iso) {
  if (node.dateTime === iso) return;
  node.dateTime = iso;
  node.title = inFull(iso);
  node.textContent = relative(iso);
}

/** Keeps every <time> of the page current; call once. */
export function tick() {
  setInterval(() => {
    for (const node of document.querySelectorAll("time[datetime]")) {
      const words = relative(node.dateTime);
      if (node.textContent !== words) node.textContent = words;
    }
  }, 5000);
}
