// Fails as JavaScript does. No wrapper catches it.

export const handler = {
  handle(bytes) {
    if (bytes.length > 3) throw new TypeError("no such field: width");
    return new Uint8Array();
  },
};
