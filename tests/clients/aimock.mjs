// Starts aimock with answers for shared/models/src/peers/aimock.rs, says where, and ends when its input does. Each answer
// is that of the model of its name. Pieces are large, for aimock cuts characters beyond the basic plane in two.
import { LLMock } from "@copilotkit/aimock";

const text = "Grüße, 世界! 👋🏽 Wie geht es dir heute?";
const usage = {
  promptTokenCount: 9, candidatesTokenCount: 7, totalTokenCount: 16, // Gemini
  input_tokens: 9, output_tokens: 7, // Anthropic
};
const mock = new LLMock({ port: 0, chunkSize: 24 });
const answer = (model, response, more) => ({ match: { model }, response, ...more });
mock.addFixtures([
  answer("whole", { content: text, usage }),
  answer("length", { content: text, finishReason: "length" }),
  answer("safety", { content: text, finishReason: "content_filter" }),
  answer("thoughts", { content: text, reasoning: "They greet me, so I shall greet them." }),
  answer("cut-by-pieces", { content: text }, { latency: 20, chunkSize: 8, truncateAfterChunks: 4 }),
  answer("cut-by-time", { content: text }, { latency: 100, chunkSize: 8, disconnectAfterMs: 250 }),
  answer("limited", { error: { message: "slow down", type: "rate_limit_error" }, status: 429, retryAfter: 3 }),
  answer("busy", { error: { message: "busy", type: "overloaded_error" }, status: 503 }),
]);
console.log(`aimock at ${await mock.start()}`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
