// SPDX-License-Identifier: Apache-2.0
/* Finds a text value in the configuration without understanding the rest of it. */
#include "plugin.h"

#include <string.h>

struct cursor {
	const char *at;
	const char *end;
};

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
		c->at++;
}

/* From the opening quote to behind the closing one; `text` and `length` are what is between. */
static bool take_string(struct cursor *c, const char **text, size_t *length)
{
	const char *start = ++c->at;

	while (c->at < c->end && *c->at != '"') {
		if (*c->at == '\\')
			c->at++;
		c->at++;
	}
	if (c->at >= c->end)
		return false;
	*text = start;
	*length = (size_t)(c->at++ - start);
	return true;
}

static bool copy_plain(const char *text, size_t length, char *into, size_t room)
{
	if (length == 0 || length >= room)
		return false;
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == '\\' || text[i] == 0x7f)
			return false;
	}
	memcpy(into, text, length);
	into[length] = '\0';
	return true;
}

enum finding config_text(const char *json, size_t length, const char *key, char *into, size_t room)
{
	struct cursor c = { json, json + length };
	bool key_follows = false;
	int depth = 0;

	while (c.at < c.end) {
		const char *text;
		size_t size;
		bool is_key;

		switch (*c.at) {
		case '{':
		case '[':
			key_follows = ++depth == 1 && *c.at == '{';
			c.at++;
			continue;
		case '}':
		case ']':
			depth--;
			c.at++;
			continue;
		case ',':
			key_follows = depth == 1;
			c.at++;
			continue;
		case '"':
			break;
		default:
			c.at++;
			continue;
		}
		is_key = key_follows;
		key_follows = false;
		if (!take_string(&c, &text, &size))
			return ABSENT;
		if (!is_key || size != strlen(key) || memcmp(text, key, size) != 0)
			continue;
		skip_blanks(&c);
		if (c.at >= c.end || *c.at++ != ':')
			return UNUSABLE;
		skip_blanks(&c);
		if (c.at >= c.end || *c.at != '"' || !take_string(&c, &text, &size))
			return UNUSABLE;
		return copy_plain(text, size, into, room) ? FOUND : UNUSABLE;
	}
	return ABSENT;
}
