import { FieldResolver, Resolver, Root } from "type-graphql";
import { CreateGenerationPayload } from "./generation-payload.type.ts";

@Resolver(() => CreateGenerationPayload)
export class CreatePayloadResolver {
  @FieldResolver(() => Boolean, { description: "The idempotency key was used before: this is the generation of then." })
  replayed(@Root() { wasReplayed = false }: CreateGenerationPayload): boolean {
    return wasReplayed;
  }
}
