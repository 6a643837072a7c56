/** Catalogs in folders of their own. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface TestCatalog {
  readonly directory: string;
  /** Path → text, below the folder; null removes. */
  readonly write: (files: Readonly<Record<string, string | null>>) => void;
  readonly remove: () => void;
}

export function makeTestCatalog(files: Readonly<Record<string, string>>): TestCatalog {
  const directory = mkdtempSync(join(tmpdir(), 'carillon-catalog-'));
  const write: TestCatalog['write'] = (given) => {
    for (const [name, text] of Object.entries(given)) {
      const path = join(directory, name);
      mkdirSync(dirname(path), { recursive: true });
      if (text === null) rmSync(path);
      else writeFileSync(path, text);
    }
  };
  write(files);
  return { directory, write, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
