// Whether docs/asyncapi.json is AsyncAPI 3.0, by the specification's own schema.

import { readFileSync } from 'node:fs';
import specs from '@asyncapi/specs';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';

const document = JSON.parse(readFileSync(new URL('../../docs/asyncapi.json', import.meta.url), 'utf8'));
const { $schema, ...schema } = specs.schemasWithoutId['3.0.0'];
const ajv = addFormats(new Ajv({ strict: false, allErrors: true, logger: false }));
const validate = ajv.compile(schema);
if (!validate(document)) {
  for (const { instancePath, message } of validate.errors)
    console.error(`docs/asyncapi.json ${instancePath} ${message}`);
  process.exit(1);
}
console.log(`docs/asyncapi.json: AsyncAPI ${document.asyncapi}, ${Object.keys(document.channels).length} channels`);
