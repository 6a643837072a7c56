/** What commands print: for people on a terminal, a JSON document on each line elsewhere. And how they fail. */

/** Documented in docs/guides/command-line.md. */
export const EXIT = { done: 0, failed: 1, misused: 2, unreachable: 3 } as const;

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
