/** Tenants: the border that nothing crosses. Each has a sibling for its test keys, which nothing leaves. */
const TEST_SUFFIX = ':test';

export function testTenantOf(tenantId: string): string {
  return `${tenantId}${TEST_SUFFIX}`;
}

/** Everything runs as it does for others, up to the providers: those are simulated. */
export function isTestTenant(tenantId: string): boolean {
  return tenantId.endsWith(TEST_SUFFIX);
}
