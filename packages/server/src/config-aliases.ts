/** Settings under the names that a system replaced by Carillon gave them (docs/guides/source-systems.md, A). Ours come first. */
import type { Source } from './lib/setting.ts';

const ALIASES: Readonly<Record<string, { readonly name: string; readonly unit?: string }>> = {
  NOTIF_THROTTLE_MAX_PER_HOUR: { name: 'throttle.max_per_window' },
  NOTIF_THROTTLE_WINDOW_HOURS: { name: 'throttle.window', unit: 'h' },
  NOTIF_MAX_SCHEDULE_DAYS: { name: 'schedule.max_days' },
};

/** Below the environment's own names, above the files. */
export function fromAliases(env: Readonly<Record<string, string | undefined>>): Source {
  const given = Object.entries(ALIASES).flatMap(([key, { name, unit = '' }]) => (env[key] ? [[name, env[key] + unit] as const] : []));
  return { name: 'environment', values: new Map(given), problems: [] };
}
