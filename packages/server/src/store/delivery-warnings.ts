/** What the templates of a delivery missed. */
import { type Queryable } from './database.ts';

/** The first word counts: every attempt would say the same. */
export async function noteWarnings(
  db: Queryable,
  { id, tenantId, warnings }: { id: string; tenantId: string; warnings: readonly string[] },
): Promise<void> {
  await db.query({
    name: 'deliveries-note-warnings',
    text: 'update carillon.deliveries set warnings = $3::json where id = $1 and tenant_id = $2 and warnings is null',
    values: [id, tenantId, JSON.stringify(warnings)],
  });
}
