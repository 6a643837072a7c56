/** What the recipients of a test key's deliveries stand for. docs/guides/test-keys.md lists them. */

export const SCENARIOS = ['delivered', 'bounced', 'timeout', 'rate-limited'] as const;
export type Scenario = (typeof SCENARIOS)[number];

const NAMES = SCENARIOS.join('|');
/** `.example` is nobody's (RFC 2606): what is sent there with a live key by mistake reaches no one. */
const MAILBOX = new RegExp(`^(${NAMES})(?:\\+[^@]*)?@simulator\\.example$`, 'i');
/** Also inside a document, such as the subscription of a browser. */
const URL_OF = new RegExp(`://simulator\\.example/(${NAMES})(?![\\w-])`, 'i');
const USER = new RegExp(`^test:(${NAMES})(?::|$)`);
/** The area code 555 is assigned to no one. */
const PHONES: Readonly<Record<string, Scenario>> = {
  '+15555550100': 'delivered',
  '+15555550101': 'bounced',
  '+15555550102': 'timeout',
  '+15555550103': 'rate-limited',
};

/** The address goes before the user. Whoever stands for nothing is delivered to. */
export function scenarioOf(address: string, userId: string | null): Scenario {
  const named = MAILBOX.exec(address)?.[1] ?? URL_OF.exec(address)?.[1] ?? PHONES[address] ?? USER.exec(userId ?? '')?.[1];
  return SCENARIOS.find((scenario) => scenario === named?.toLowerCase()) ?? 'delivered';
}
