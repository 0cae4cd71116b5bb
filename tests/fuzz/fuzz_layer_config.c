/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_layer_config: the settings of a layer, and messages as JSON, from whoever may open one.
 *
 * The input is read as settings: it is refused with a reason, or understood, twice as the same and
 * within the ceilings. The same bytes are then tried as a message in JSON and as a body in msgpack:
 * what one direction gives, the other takes back to itself.
 */
#include "channel_layer/config/config.h"
#include "core/text.h"
#include "core/transcode.h"

#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { CEILING = 64 << 20 };

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void require_reason(enum err err, const struct err_text *why)
{
    require(why->code == err && why->text[0] != '\0');
    require(utf8_is_valid((const uint8_t *)why->text, strlen(why->text)));
}

static void require_host(const struct redis_host *host)
{
    require(host->text != NULL);
    require((host->host != NULL) + (host->unix_path != NULL) + (host->master_name != NULL) == 1);
    require((host->port != 0) == (host->host != NULL));
    require((host->sentinel_count != 0) == (host->master_name != NULL));
    require(!host->check_hostname || (host->is_tls && host->verify != REDIS_VERIFY_NONE));
    require(host->is_tls || (host->ca_file == NULL && host->cert_file == NULL));
    for (size_t i = 0; i < host->sentinel_count; i++)
        require_host(&host->sentinels[i]);
}

static void read_settings(struct slice text)
{
    struct layer_config *config = NULL;
    struct layer_config *again = NULL;
    struct err_text why = {0};
    const enum err err = layer_config_parse(&config, text, &why);
    if (err != ERR_OK) {
        require(config == NULL);
        require_reason(err, &why);
        return;
    }
    require((config->host_count > 0) == (config->backend != LAYER_MEMORY));
    for (size_t i = 0; i < config->host_count; i++)
        require_host(&config->hosts[i]);
    require(config->expiry_s > 0 && config->group_expiry_s > 0 && config->capacity > 0);
    require(config->timeout_ms >= 50 && config->timeout_ms <= 60000);
    require(config->random_prefix_length <= 255 && strlen(config->digest) == 64);
    (void)layer_config_capacity(config, slice_str("specific.0!1"));
    require(layer_config_parse(&again, text, &why) == ERR_OK);
    require(strcmp(config->digest, again->digest) == 0);
    layer_config_free(config);
    layer_config_free(again);
}

/* What was read once is in its plainest form: from there on both directions agree. */
static void there_and_back(struct slice body)
{
    struct buf json;
    struct buf back;
    struct buf again;
    struct err_text why = {0};
    buf_init(&json, CEILING);
    buf_init(&back, CEILING);
    buf_init(&again, CEILING);
    const enum err err = transcode_to_json(&json, body, &why);
    if (err != ERR_OK)
        require_reason(err, &why);
    else if (transcode_to_pack(&back, buf_slice(&json), &why) == ERR_OK) {
        require(transcode_to_json(&again, buf_slice(&back), &why) == ERR_OK);
        require(slice_eq(buf_slice(&json), buf_slice(&again)));
    }
    buf_deinit(&json);
    buf_deinit(&back);
    buf_deinit(&again);
}

static void read_message(struct slice text)
{
    struct buf body;
    struct err_text why = {0};
    buf_init(&body, CEILING);
    const enum err err = transcode_to_pack(&body, text, &why);
    if (err != ERR_OK)
        require_reason(err, &why);
    else
        there_and_back(buf_slice(&body));
    buf_deinit(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size + 1); /* one before it: the end is the block's */
    require(exact != NULL);
    if (size > 0)
        memcpy(exact + 1, data, size);
    const struct slice in = slice_make(exact + 1, size);
    read_settings(in);
    read_message(in);
    there_and_back(in);
    free(exact);
    return 0;
}
