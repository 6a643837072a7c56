/** Whether the database serves this program. */
import type { Queryable } from './database.ts';

/** The number of the last migration that was applied. Rejects when the database does not answer. */
export async function appliedMigration(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ number: number }>({
    name: 'health-migration',
    text: 'select coalesce(max(number), 0) as number from carillon.migrations',
    values: [],
  });
  return rows[0]?.number ?? 0;
}
