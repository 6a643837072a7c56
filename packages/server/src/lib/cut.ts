/** Texts made to fit the limits of those who carry them. A character is never cut in two. */

const MARK = '…';

/** At most `max` UTF-16 units, the mark of the cut included. */
export function cutText(text: string, max: number): string {
  return text.length <= max ? text : `${head(text, max - MARK.length)}${MARK}`;
}

/** The first `max` units, or one less where that would leave half a character. */
function head(text: string, max: number): string {
  const end = Math.max(0, max);
  return isLow(text.charCodeAt(end)) && isHigh(text.charCodeAt(end - 1)) ? text.slice(0, end - 1) : text.slice(0, end);
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/**
 * The longest beginning of `text` for which `fits` is true. It is true for all shorter ones when it is for one: what is asked
 * is a size. Marked where something is missing.
 */
export function cutToFit(text: string, fits: (cut: string) => boolean): string {
  if (fits(text)) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (fits(cutText(text, middle))) low = middle;
    else high = middle - 1;
  }
  return cutText(text, low);
}
