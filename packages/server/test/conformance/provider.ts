/** The contract of providers, run by vitest. */
import { test } from 'vitest';
import { providerChecks, type ProviderCase } from './contract.ts';

export function providerContract<Address, Content>(subject: ProviderCase<Address, Content>): void {
  for (const { name, run } of providerChecks(subject)) test(name, run);
}
