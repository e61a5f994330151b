import { Arg, FieldResolver, Int, Resolver, Root, registerEnumType } from "type-graphql";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS, type ImageVariant } from "../storage/image-variants.ts";
import { checkExpiry } from "../storage/link-expiry.ts";
import { Image } from "./image.type.ts";

const ImageVariants = Object.fromEntries(Object.keys(IMAGE_VARIANTS).map((name) => [name, name])) as Record<
  ImageVariant,
  ImageVariant
>;
registerEnumType(ImageVariants, {
  name: "ImageVariant",
  description: "ORIGINAL as it was made; W256 and W512: WebP, at most that wide.",
});

@Resolver(() => Image)
export class ImageResolver {
  constructor(private readonly store: ImageStore) {}

  @FieldResolver(() => String, {
    description: "A link that works for anyone until it expires: made anew on each read, never store it.",
  })
  url(
    @Root() image: Image,
    @Arg("variant", () => ImageVariants, { defaultValue: "ORIGINAL" }) variant: ImageVariant,
    @Arg("expiresInSeconds", () => Int, { defaultValue: 300 }) expiresInSeconds: number,
  ): string {
    checkExpiry(expiresInSeconds);
    return this.store.url(`${image.storageKey}/${IMAGE_VARIANTS[variant]}`, expiresInSeconds);
  }
}
