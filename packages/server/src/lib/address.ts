/** Which IP addresses Carillon may call. */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Range = [Address, number];

export interface AddressPolicy {
  /** Development: 127.0.0.0/8, ::1 and the name `localhost`. */
  readonly allowLoopback: boolean;
  /** CIDR ranges that the operator allows. Metadata services stay blocked inside them. */
  readonly allowRanges: readonly string[];
}

export interface AddressRules {
  readonly allowLoopback: boolean;
  readonly ranges: readonly Range[];
}

/** Throws on a range that is not a CIDR. */
export function addressRules({ allowLoopback, allowRanges }: AddressPolicy): AddressRules {
  return { allowLoopback, ranges: allowRanges.map(parseRange) };
}

function parseRange(text: string): Range {
  if (!ipaddr.isValidCIDR(text)) throw new Error(`"${text}" is not an address range such as 10.1.0.0/16`);
  return ipaddr.parseCIDR(text);
}

/** Where clouds hand out credentials to whoever asks from inside. Several count as ordinary unicast or lie in ranges that operators list. */
const METADATA = new Set(
  [
    '169.254.169.254', // most clouds
    '169.254.169.253', // EC2 resolver
    '169.254.170.2', // ECS tasks
    '169.254.170.23', // EKS pods
    '169.254.42.42', // Scaleway
    '169.254.0.23', // Tencent
    '168.63.129.16', // Azure wire server
    '100.100.100.200', // Alibaba
    '192.0.0.192', // Oracle
    'fd00:ec2::254',
    'fd00:ec2::253',
    'fd00:ec2::23',
    'fd00:42::42',
    'fd20:ce::254', // Google
  ].map((text) => ipaddr.parse(text).toString()),
);

/** ipaddr.js calls everything it does not know unicast; on the internet that is 2000::/3 only (RFC 4291 2.4). */
const GLOBAL_UNICAST: Range = ipaddr.parseCIDR('2000::/3');

const WORDS: Readonly<Record<string, string>> = {
  loopback: 'a loopback address',
  private: 'a private address',
  uniqueLocal: 'a private address',
  linkLocal: 'a link-local address',
  multicast: 'a multicast address',
  ipv4Mapped: 'an IPv4-mapped address',
  rfc6052: 'a NAT64 address',
  '6to4': 'a 6to4 address',
  teredo: 'a Teredo address',
};

/** Why this address must not be called, or undefined. `text` is an IP address as `dns.lookup` or `URL` spell it. */
export function addressRefusal(text: string, rules: AddressRules): string | undefined {
  if (isIP(text) === 0) return 'not an IP address';
  const address = ipaddr.parse(text);
  if (isMetadata(address)) return 'the address of a metadata service';
  if (rules.ranges.some((range) => contains(range, address))) return undefined;
  const range: string = address.range();
  if (range === 'loopback' && rules.allowLoopback) return undefined;
  if (range !== 'unicast') return WORDS[range] ?? 'a reserved address';
  return address.kind() === 'ipv6' && !contains(GLOBAL_UNICAST, address) ? 'a reserved address' : undefined;
}

function contains([network, bits]: Range, address: Address): boolean {
  return network.kind() === address.kind() && address.match([network, bits]);
}

function isMetadata(address: Address): boolean {
  if (address.kind() === 'ipv4') return METADATA.has(address.toString());
  const v6 = new ipaddr.IPv6((address as ipaddr.IPv6).parts); // without a zone
  return METADATA.has(v6.toString()) || embeddedIpv4(v6).some((inner) => METADATA.has(inner));
}

/** The IPv4 addresses that an IPv6 address may be translated to, in an operator's network too. */
function embeddedIpv4(address: ipaddr.IPv6): string[] {
  const parts = address.parts;
  const dotted = (high = 0, low = 0) => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  const last = dotted(parts[6], parts[7]); // mapped, compatible, NAT64 (RFC 4291, RFC 6052)
  switch (address.range() as string) {
    case '6to4':
      return [last, dotted(parts[1], parts[2])]; // RFC 3056
    case 'teredo':
      return [last, dotted((parts[6] ?? 0) ^ 0xffff, (parts[7] ?? 0) ^ 0xffff)]; // RFC 4380
    default:
      return [last];
  }
}
