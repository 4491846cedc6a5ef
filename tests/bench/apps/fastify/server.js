'use strict'

// Fastify over postgres.js, with the statements of sql/, but without a quota: schemas for what comes in and for what goes
// out, tokens remembered once they are verified, one process for each core.

const cluster = require('node:cluster')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const bcrypt = require('bcrypt')
const { fastify, LogController } = require('fastify')
const pino = require('pino')
const postgres = require('postgres')

const { BETTER_AUTH_SECRET, DATABASE_URL, POOL_MAX, PORT, WORKERS } = process.env
const LIST_LIMIT = 1000
const PRIORITIES = ['none', 'low', 'medium', 'high']
const LIFETIME = 24 * 3600

const read = (...path) => readFileSync(join(__dirname, ...path), 'utf8')
const statement = (name) => read('../../../../sql', `${name}.sql`)
const FIND_CREDENTIALS = statement('accounts/find_credentials')
const LIST_TASKS = statement('tasks/list_tasks')
const PAGE_NEWEST = statement('tasks/page_newest')
const CREATE_TASK = read('../create_task.sql')
const GET_TASK = statement('tasks/get_task')
const UPDATE_TASK = statement('tasks/update_task')
const DELETE_TASK = read('../delete_task.sql')

// The names in the header, like `-- $3 set_title  boolean`. A field of sql/ that this peer does not know stays as it is.
const parameters = (text) => Array.from(text.matchAll(/^-- \$\d+ (\w+)/gm), ([, name]) => name)
const UPDATE_PARAMETERS = parameters(UPDATE_TASK)
const PAGE_PARAMETERS = parameters(PAGE_NEWEST)
const updateArguments = (values) =>
  UPDATE_PARAMETERS.map((name) => values[name] ?? (name.startsWith('set_') ? false : null))

const BEHIND_NOTHING = ['infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff']
const cursorBehind = (task) => Buffer.from(JSON.stringify([task.created_at, task.id])).toString('base64url')
const positionOf = (cursor) => JSON.parse(Buffer.from(cursor, 'base64url').toString())

// What the server sends, 2026-01-31 12:00:00.123456+00, as the contract writes it. A Date would lose the microseconds.
function timestamp(text) {
  const fraction = text.slice(20, -3)
  const digits = fraction.length === 6 ? fraction : fraction.padEnd(6, '0')
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${digits}Z`
}

const string = { type: 'string' }
const stringOrNull = { type: ['string', 'null'] }
const title = { type: 'string', maxLength: 200, pattern: '\\S' }
const description = { type: ['string', 'null'], maxLength: 2000 }
const given = { type: 'string', minLength: 1 }
const credentials = { type: 'object', required: ['email', 'password'], properties: { email: given, password: given } }
const newTask = { type: 'object', required: ['title'], properties: { title, description } }
const taskChanges = { type: 'object', properties: { title, description, is_completed: { type: 'boolean' } } }
const listQuery = {
  type: 'object',
  properties: {
    limit: { type: 'string', pattern: '^([1-9][0-9]{0,2}|1000)$' },
    cursor: { type: 'string', maxLength: 300 },
    is_completed: { enum: ['true', 'false'] },
    q: { type: 'string', minLength: 1, maxLength: 100 },
  },
}
const uuid = { type: 'string', pattern: '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' }
const params = { type: 'object', properties: { taskId: uuid } }
const task = {
  type: 'object',
  properties: {
    id: string,
    user_id: string,
    title: string,
    description: stringOrNull,
    is_completed: { type: 'boolean' },
    due_on: stringOrNull,
    due_time: stringOrNull,
    time_zone: stringOrNull,
    priority: string,
    tags: { type: 'array', items: string },
    created_at: string,
    updated_at: string,
    completed_at: stringOrNull,
    version: { type: 'integer' },
  },
}
const tasks = { type: 'object', properties: { tasks: { type: 'array', items: task }, next_cursor: stringOrNull } }
const deleted = { type: 'object', properties: { message: string, id: string } }
const user = { type: 'object', properties: { id: string, email: string, created_at: string } }
const session = { type: 'object', properties: { token: string, user } }

class Problem extends Error {
  constructor(status, code, error, details) {
    super(error)
    this.status = status
    this.body = { error, code, details }
  }
}

const taskNotFound = () => new Problem(404, 'NOT_FOUND', 'Task not found')
const invalid = (details) => new Problem(400, 'VALIDATION_ERROR', 'Validation failed', details)
const loginRefused = () => new Problem(401, 'INVALID_CREDENTIALS', 'Invalid email or password')
const unauthorized = (error) => {
  if (error.code === 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED') {
    return new Problem(401, 'TOKEN_EXPIRED', 'Authentication token has expired')
  }
  if (error.code === 'FST_JWT_NO_AUTHORIZATION_IN_HEADER') {
    return new Problem(401, 'UNAUTHORIZED', 'Invalid or missing authentication token')
  }
  return new Problem(401, 'INVALID_TOKEN', 'Authentication token is invalid')
}

function messageOf(error, field, request) {
  const label = field[0].toUpperCase() + field.slice(1)
  if (error.keyword === 'maxLength') return `${label} must not exceed ${error.params.limit} characters`
  if (field === 'is_completed') return 'is_completed must be true or false'
  if (error.keyword === 'type' && request.body[field] !== null) return `${label} must be a string`
  return request.method === 'PUT' ? `${label} cannot be empty` : `${label} is required`
}

function problemOf(error, request) {
  if (error instanceof Problem) return error
  if (error.validationContext === 'params') return taskNotFound()
  if (error.validation) {
    const details = new Map()
    for (const found of error.validation) {
      const field = found.params.missingProperty ?? found.instancePath.slice(1)
      if (!field) return new Problem(400, 'INVALID_REQUEST', 'Request body must be a JSON object')
      if (!details.has(field)) details.set(field, { field, message: messageOf(found, field, request) })
    }
    return invalid([...details.values()])
  }
  if (error.statusCode < 500) return new Problem(400, 'INVALID_REQUEST', 'Request body is not valid JSON')
  request.log.error(error)
  return new Problem(500, 'INTERNAL_ERROR', 'An internal server error occurred')
}

async function serve() {
  const sql = postgres(DATABASE_URL, {
    max: Number(POOL_MAX),
    connection: { TimeZone: 'UTC' },
    types: {
      timestamp: { to: 1184, from: [1184], serialize: (text) => text, parse: timestamp },
      date: { to: 1082, from: [1082], serialize: (text) => text, parse: (text) => text }, // not a Date: it has no zone
    },
  })
  const query = (text, values) => sql.unsafe(text, values, { prepare: true })
  const shown = (row) => {
    row.priority = PRIORITIES[row.priority]
    row.due_time &&= row.due_time.slice(0, 5)
    return row
  }
  const one = async (text, values) => {
    const [row] = await query(text, values)
    if (row === undefined) throw taskNotFound()
    return row
  }

  // One line for each request, as the other peers write; Fastify itself would write two.
  const app = fastify({
    loggerInstance: pino(),
    logController: new LogController({ disableRequestLogging: true }),
    ajv: { customOptions: { coerceTypes: false, allErrors: true, allowUnionTypes: true } },
  })
  app.addHook('onResponse', (request, reply, done) => {
    const { method, url } = request
    request.log.info({ method, url, status: reply.statusCode, duration_ms: reply.elapsedTime }, 'request')
    done()
  })
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error, request)
    return reply.code(problem.status).send(problem.body)
  })

  // As many tokens as this service remembers, by a digest as well.
  await app.register(require('@fastify/jwt'), {
    secret: BETTER_AUTH_SECRET,
    sign: { algorithm: 'HS256', expiresIn: LIFETIME * 1000 },
    verify: { algorithms: ['HS256'], requiredClaims: ['sub', 'exp'], cache: 10_000 },
  })
  app.decorateRequest('userId', null)
  const onRequest = async (request) => {
    try {
      await request.jwtVerify()
    } catch (error) {
      throw unauthorized(error)
    }
    request.userId = request.user.sub
  }

  app.get('/health/live', async () => ({ status: 'alive' }))

  app.post('/api/auth/login', { schema: { body: credentials, response: { 200: session } } }, async ({ body }) => {
    const [found] = await query(FIND_CREDENTIALS, [body.email.trim().toLowerCase()])
    if (found === undefined || !(await bcrypt.compare(body.password, found.password_hash))) throw loginRefused()
    const { id, email } = found
    const claims = { sub: id, user_id: id, email, gen: Number(found.token_generation) }
    return { token: app.jwt.sign(claims), user: found }
  })

  const listing = { onRequest, schema: { querystring: listQuery, response: { 200: tasks } } }
  app.get('/api/tasks', listing, async ({ userId, query: asked }) => {
    const { cursor, is_completed, q } = asked
    const limit = Number(asked.limit ?? LIST_LIMIT)
    let rows
    if (cursor === undefined && is_completed === undefined && q === undefined) {
      rows = await query(LIST_TASKS, [userId, limit + 1])
    } else {
      const [createdAt, id] = cursor === undefined ? BEHIND_NOTHING : positionOf(cursor)
      const values = {
        user_id: userId,
        is_completed: is_completed && is_completed === 'true',
        search: q,
        with_texts: true,
        max_rows: limit + 1,
        after_created_at: createdAt,
        after_id: id,
      }
      rows = await query(PAGE_NEWEST, PAGE_PARAMETERS.map((name) => values[name] ?? null))
    }
    const page = rows.slice(0, limit).map(shown)
    return { tasks: page, next_cursor: rows.length > limit ? cursorBehind(page[limit - 1]) : null }
  })

  const creating = { onRequest, schema: { body: newTask, response: { 201: task } } }
  app.post('/api/tasks', creating, async ({ userId, body }, reply) => {
    const created = shown(await one(CREATE_TASK, [userId, body.title.trim(), body.description?.trim() || null]))
    reply.code(201).header('Location', `/api/tasks/${created.id}`)
    return created
  })

  const reading = { onRequest, schema: { params, response: { 200: task } } }
  app.get('/api/tasks/:taskId', reading, async ({ userId, params }) => shown(await one(GET_TASK, [userId, params.taskId])))

  const updating = { onRequest, schema: { params, body: taskChanges, response: { 200: task } } }
  app.put('/api/tasks/:taskId', updating, async ({ userId, params, body }) => {
    const { title, description, is_completed } = body
    const values = {
      user_id: userId,
      task_id: params.taskId,
      set_title: title !== undefined,
      title: title?.trim(),
      set_description: description !== undefined,
      description: description?.trim() || null,
      set_is_completed: is_completed !== undefined,
      is_completed,
    }
    if (!(values.set_title || values.set_description || values.set_is_completed)) {
      throw invalid([{ field: 'body', message: 'At least one field is required' }])
    }
    return shown(await one(UPDATE_TASK, updateArguments(values)))
  })

  const deleting = { onRequest, schema: { params, response: { 200: deleted } } }
  app.delete('/api/tasks/:taskId', deleting, async ({ userId, params }) => {
    const { id } = await one(DELETE_TASK, [userId, params.taskId])
    return { message: 'Task deleted successfully', id }
  })

  await app.listen({ port: Number(PORT), host: '127.0.0.1' })
}

if (cluster.isPrimary) {
  for (let started = 0; started < Number(WORKERS); started += 1) cluster.fork()
} else {
  serve()
}
