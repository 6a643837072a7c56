/** One example for each operation: a test compares this list with the routes. */
import { ACCOUNTS } from './accounts.ts';
import { CATALOG } from './catalog.ts';
import type { Examples } from './example.ts';
import { OPERATING } from './operating.ts';
import { PEOPLE } from './people.ts';
import { PRODUCING } from './producing.ts';

export const EXAMPLES: Examples = { ...PRODUCING, ...PEOPLE, ...ACCOUNTS, ...CATALOG, ...OPERATING };
