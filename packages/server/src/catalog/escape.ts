/** How a value is written so that it stays a value where it is shown. */

export type Target = 'plain' | 'html' | 'slack' | 'markdown';

const HTML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export function escapeFor(target: Target, text: string): string {
  switch (target) {
    case 'plain':
      return text;
    case 'html':
      return text.replace(/[&<>"']/g, (character) => HTML[character] ?? '');
    case 'slack':
      // Slack reads mentions and links from angle brackets; these three are all that its documentation asks for.
      return text.replace(/[&<>]/g, (character) => HTML[character] ?? '');
    case 'markdown':
      return text.replace(/[\\`*_~|[\]()#<>]/g, '\\$&').replace(/^([^\S\n\r\u2028\u2029]*)([-+]|\d+\.)(?=\s)/gm, '$1\\$2');
  }
}

/** As part of a JSON string that the template has opened and closes. */
export function insideJson(text: string): string {
  return JSON.stringify(text.toWellFormed()).slice(1, -1);
}

/** As part of an address: a value can't leave the place that it was given. */
export function insideUrl(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}
