/** Places in a template where a value would be an address, and what may stand there. Pure. */
import { isLink, linkOf } from '../lib/link.ts';
import type { Target } from './escape.ts';

/** `field`: the value is the whole of a JSON field that is no text, and nothing is marked up there. */
export type AddressPlace = 'field' | 'text' | undefined;

/** Of a value that follows this literal text. */
export function addressPlace(before: string, { target, json }: { readonly target: Target; readonly json?: boolean }): AddressPlace {
  const end = before.slice(-80);
  if (json && /"\w*ur[li]\w*"\s*:\s*"\s*$/i.test(end)) return 'field';
  return beginsAddress(end, target) ? 'text' : undefined;
}

function beginsAddress(end: string, target: Target): boolean {
  if (target === 'html') return /\b(?:href|src|action|background)\s*=\s*["']?\s*$/i.test(end);
  return target === 'slack' ? end.endsWith('<') : target === 'markdown' && /\]\(\s*<?$/.test(end);
}

/** A value that could run code, or hide where it leads, is no address: it counts as missing. */
export function addressOrNone(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  return linkOf(value) ?? (value.startsWith('/') && isLink(value) ? value : undefined);
}
