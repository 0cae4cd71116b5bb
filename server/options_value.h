/* SPDX-License-Identifier: BSD-3-Clause
 *
 * options_value: the text of one option, checked and put into its field.
 *
 * Why: the command line, the environment and the defaults give the same texts; they are read by
 * the same rules and refused in the same words.
 *
 * Thread: any.
 */
#ifndef SERVER_OPTIONS_VALUE_H
#define SERVER_OPTIONS_VALUE_H

#include "core/err.h"
#include "server/options.h"
#include "server/options_table.h"

/* Sets the field of @row to its default. */
void options_value_set_default(struct options *out, const struct option_row *row);

/* Sets the field of @row (options_table_has_field()) to @value; for a flag "1" or "0".
 * @source is what the user wrote it behind, "--port" or "CHANNELSD_PORT".
 *
 * Errors: ERR_INVALID with @why naming source, value and what was expected. @out is unchanged. */
enum err options_value_set(struct options *out, const struct option_row *row, const char *value,
                           const char *source, struct err_text *why) MUST_CHECK;

#endif
