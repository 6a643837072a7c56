/** What is wrong with a catalog: where, and what to do about it. */

export interface Problem {
  /** Below the catalog's folder: `execution.failed/event.yaml`. */
  readonly file: string;
  readonly line?: number | undefined;
  readonly message: string;
}

export function describeProblem({ file, line, message }: Problem): string {
  return `${file}${line === undefined ? '' : `:${line}`}: ${message}`;
}

/** Problems of one type's files, named below the folder of the type. */
export function below(type: string, problems: readonly Problem[]): Problem[] {
  return problems.map((problem) => ({ ...problem, file: problem.file.startsWith('_') ? problem.file : `${type}/${problem.file}` }));
}

/** Everything that is wrong, not only the first. */
export class CatalogError extends Error {
  readonly problems: readonly Problem[];
  constructor(directory: string, problems: readonly Problem[]) {
    super(`The catalog in ${directory} is not valid:\n${problems.map((problem) => `  - ${describeProblem(problem)}`).join('\n')}`);
    this.problems = problems;
  }
}
