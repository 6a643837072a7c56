import { expect, test } from 'vitest';
import { scenarioOf } from './scenario.ts';

test.each([
  ['bounced@simulator.example', 'ada', 'bounced'],
  ['Bounced+run-7@simulator.example', 'ada', 'bounced'],
  ['https://simulator.example/timeout', 'ada', 'timeout'],
  ['https://simulator.example/rate-limited/ada?x=1', null, 'rate-limited'],
  ['{"endpoint":"https://simulator.example/bounced"}', 'ada', 'bounced'],
  ['+15555550100', 'ada', 'delivered'],
  ['+15555550101', 'ada', 'bounced'],
  ['+15555550102', 'ada', 'timeout'],
  ['+15555550103', 'ada', 'rate-limited'],
  ['ada@example.org', 'test:timeout', 'timeout'],
  ['ada@example.org', 'test:rate-limited:second', 'rate-limited'],
  ['delivered@simulator.example', 'test:bounced', 'delivered'], // the address goes before the user
])('%s of %s is %s', (address, user, scenario) => {
  expect(scenarioOf(address, user)).toBe(scenario);
});

test.each([
  ['ada@example.org', 'ada'],
  ['bounced@simulator.example.org', 'ada'],
  ['not-bounced@simulator.example', 'ada'],
  ['https://simulator.example/bounced-not', 'ada'],
  ['https://example.org/https://simulator.examples/bounced', 'ada'],
  ['+15555550104', 'a test:bounced'],
  ['https://example.org', 'test:bouncedness'],
])('%s of %s stands for nothing, and is delivered to', (address, user) => {
  expect(scenarioOf(address, user)).toBe('delivered');
});
