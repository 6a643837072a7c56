/** What commands print: for people on a terminal, a JSON document on each line elsewhere. And how they fail. */

/** Documented in docs/guides/command-line.md. */
export const EXIT = { done: 0, failed: 1, misused: 2, unreachable: 3 } as const;

export const EXIT_CODES = `
Exit codes:
  0  done; nothing differs
  1  it failed, something is wrong with the files, or something differs
  2  the call or the settings are not valid
  3  the server can't be reached, or does not accept the key`;

/** Of every command. */
export const JSON_LINES = ['--json', 'a JSON document on each line, as without a terminal'] as const;

/** Known, and said with what to do about it. */
export class CommandFailed extends Error {
  readonly code: string;
  readonly hint: string;
  readonly exitCode: number;
  constructor(message: string, { code, hint, exitCode = EXIT.failed }: { code: string; hint: string; exitCode?: number }) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

export interface Output {
  readonly json: boolean;
  /** `readable` may have several lines. */
  readonly say: (record: object, readable: string) => void;
}

export function makeOutput(json: boolean | undefined): Output {
  const asJson = json ?? !process.stdout.isTTY;
  return {
    json: asJson,
    say: (record, readable) => {
      process.stdout.write(`${asJson ? JSON.stringify(record) : readable}\n`);
    },
  };
}
