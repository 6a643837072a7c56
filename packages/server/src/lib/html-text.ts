/** HTML as a person reads it who reads text. */
import { compile } from 'html-to-text';

const WIDTH = 78;
/** Nothing that people wrote is nested so deep or so long; what is cut off is said with an ellipsis. */
const LIMITS = { maxDepth: 100, maxInputLength: 512 * 1024 };

/**
 * Links with their addresses, headings as they were written, nothing of images. Tables that lay out a mail are read as
 * paragraphs; one that says `role="table"` or has the class `data` keeps its columns.
 */
export const htmlToText = compile({
  wordwrap: WIDTH,
  limits: LIMITS,
  selectors: [
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true, ignoreHref: false, linkBrackets: ['<', '>'], noAnchorUrl: true } },
    { selector: 'img', format: 'skip' },
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, options: { uppercase: false } })),
    ...['table.data', 'table[role=table]'].map((selector) => ({
      selector,
      format: 'dataTable',
      options: { uppercaseHeaderCells: false, maxColumnWidth: 40 },
    })),
  ],
});
