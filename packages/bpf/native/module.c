/* SPDX-License-Identifier: Apache-2.0 */
#include "module.h"

static const struct {
	const char *name;
	napi_callback fn;
} exports_table[] = {
#define AX_ENTRY(name, fn) { name, fn },
	AX_EXPORTS(AX_ENTRY)
#undef AX_ENTRY
};

NAPI_MODULE_INIT(/* env, exports */)
{
	for (size_t i = 0; i < sizeof(exports_table) / sizeof(exports_table[0]); i++) {
		napi_value fn = NULL;

		if (napi_create_function(env, exports_table[i].name, NAPI_AUTO_LENGTH, exports_table[i].fn, NULL,
					 &fn) != napi_ok)
			return NULL;
		napi_set_named_property(env, exports, exports_table[i].name, fn);
	}
	return exports;
}
