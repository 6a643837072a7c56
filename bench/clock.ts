/** Milliseconds of the machine's monotonic clock: the same in all processes, and no NTP moves it. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
