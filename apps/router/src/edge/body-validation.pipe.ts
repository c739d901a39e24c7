import { requestError } from '@kvcapsule/contracts/openai';
import { StandardSchemaValidationPipe } from '@nestjs/common';

type Issues = Parameters<typeof requestError>[0];

/**
 * Checks bodies with the contracts' schemas. Nest deletes the fields `__proto__`, `constructor` and `prototype` before a
 * schema sees them; here they are refused by name, as every field that is not understood.
 */
export class BodyValidationPipe extends StandardSchemaValidationPipe {
  constructor() {
    // The contracts' schemas are zod's, and so are their issues.
    super({ exceptionFactory: (issues) => requestError(issues as unknown as Issues) });
  }

  protected override stripProtoKeys(): void {
    // Nothing is left out: JSON.parse makes them fields like any other, and the schemas refuse them at every depth.
  }
}
