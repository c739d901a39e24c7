import type { Owned } from './owned.js';

/** A tenant's protection ends when it holds so much more than its floor, so that it does not come and go. */
const SLACK = 1.1;

interface Tenant<T> {
  pages: number;
  weight: number;
  isProtected: boolean;
  /** What may go but for the protection, in the policy's order. */
  readonly parked: Set<T>;
}

/** How much each tenant's content takes, and whose is protected. A tenant without content is not known. */
export class Tenants<T extends Owned> {
  readonly #tenants = new Map<string, Tenant<T>>();
  /** Of all tenants that hold something. */
  #weights = 0;

  constructor(
    private readonly capacityPages: number,
    private readonly guaranteed: number,
    /** Called with content that is protected no more. */
    private readonly unparked: (content: T) => void,
  ) {}

  get count(): number {
    return this.#tenants.size;
  }

  add({ tenant: name, weight, pages }: T): void {
    const tenant = this.#tenants.get(name);
    if (tenant?.weight === weight) {
      tenant.pages += pages;
      this.#judge(tenant);
      return;
    }
    if (tenant) {
      tenant.pages += pages;
      tenant.weight = weight;
    } else this.#tenants.set(name, { pages, weight, isProtected: false, parked: new Set() });
    this.#weigh();
  }

  remove(content: T): void {
    const tenant = this.#tenants.get(content.tenant);
    if (!tenant) return;
    tenant.pages -= content.pages;
    tenant.parked.delete(content);
    if (tenant.pages > 0) {
      this.#judge(tenant);
      return;
    }
    this.#tenants.delete(content.tenant);
    this.#weigh();
  }

  /** Whether it holds no more than its floor while others hold something. */
  isProtected(name: string): boolean {
    return this.#tenants.get(name)?.isProtected ?? false;
  }

  isAboveShare(name: string): boolean {
    const tenant = this.#tenants.get(name);
    return tenant !== undefined && tenant.pages > this.#share(tenant);
  }

  /** Content that may go, of a tenant that is protected. */
  park(content: T): void {
    this.#tenants.get(content.tenant)?.parked.add(content);
  }

  unpark(content: T): void {
    this.#tenants.get(content.tenant)?.parked.delete(content);
  }

  /** Where all that may go is protected: the first of the tenant that holds most. */
  leastProtected(): T | undefined {
    let most: Tenant<T> | undefined;
    for (const tenant of this.#tenants.values()) {
      if (tenant.parked.size > 0 && tenant.pages > (most?.pages ?? 0)) most = tenant;
    }
    return most?.parked.values().next().value;
  }

  /** Added up anew, so that nothing of what has come and gone is left of it by rounding. */
  #weigh(): void {
    this.#weights = 0;
    for (const { weight } of this.#tenants.values()) this.#weights += weight;
    for (const tenant of this.#tenants.values()) this.#judge(tenant);
  }

  #share({ weight }: Tenant<T>): number {
    return (this.capacityPages * weight) / this.#weights;
  }

  #judge(tenant: Tenant<T>): void {
    const floorPages = this.count < 2 ? 0 : this.guaranteed * this.#share(tenant);
    if (tenant.pages <= floorPages) tenant.isProtected = true;
    if (tenant.pages <= floorPages * SLACK || !tenant.isProtected) return;
    tenant.isProtected = false;
    const parked = [...tenant.parked];
    tenant.parked.clear();
    for (const content of parked) this.unparked(content);
  }
}
