// Does nothing, and says so: what a job costs that costs nothing but an interpreter.

export const handler = { handle: () => new Uint8Array() };
