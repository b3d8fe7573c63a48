/* The smallest reader of JSON that our descriptions need: no \u escapes, whole numbers only. */
#include <stdlib.h>
#include <string.h>

typedef struct Value Value;
struct Value {
    char kind;             /* 'o'bject, 'a'rray, 's'tring, 'n'umber, 'b'oolean, '0' for null */
    char *key, *text;
    long long number;
    Value *first, *next, *parent;
};

static Value *read_value(const char **at, Value *parent);

static void skip_space(const char **at)
{
    *at += strspn(*at, " \t\r\n");
}

static char *read_string(const char **at)
{
    char *text = malloc(strlen(*at)), *end = text;
    for (++*at; **at && **at != '"'; ++*at) {
        if (**at == '\\')
            ++*at;
        *end++ = **at;
    }
    *end = 0;
    if (**at)
        ++*at;
    return text;
}

static void read_members(const char **at, Value *into, char closing)
{
    Value **last = &into->first;
    for (++*at, skip_space(at); **at && **at != closing; skip_space(at)) {
        char *key = NULL;
        if (closing == '}') {
            key = read_string(at);
            skip_space(at);
            ++*at; /* the colon */
        }
        *last = read_value(at, into);
        (*last)->key = key;
        last = &(*last)->next;
        skip_space(at);
        if (**at == ',') {
            ++*at;
            skip_space(at);
        }
    }
    if (**at)
        ++*at;
}

static Value *read_value(const char **at, Value *parent)
{
    Value *value = calloc(1, sizeof *value);
    value->parent = parent;
    skip_space(at);
    switch (**at) {
    case '{':
        value->kind = 'o';
        read_members(at, value, '}');
        break;
    case '[':
        value->kind = 'a';
        read_members(at, value, ']');
        break;
    case '"':
        value->kind = 's';
        value->text = read_string(at);
        break;
    case 't':
    case 'f':
        value->kind = 'b';
        value->number = **at == 't';
        *at += **at == 't' ? 4 : 5;
        break;
    case 'n':
        value->kind = '0';
        *at += 4;
        break;
    default: {
        char *end;
        value->kind = 'n';
        value->number = strtoll(*at, &end, 10);
        if (end == *at)
            abort(); /* a description that cannot be read is a mistake of the test's */
        *at = end;
    }
    }
    return value;
}

static Value *member(const Value *object, const char *key)
{
    Value *found = object ? object->first : NULL;
    while (found && strcmp(found->key, key))
        found = found->next;
    return found;
}

static Value *item(const Value *array, unsigned position)
{
    Value *found = array ? array->first : NULL;
    while (found && position--)
        found = found->next;
    return found;
}

static unsigned length(const Value *array)
{
    unsigned number = 0;
    for (Value *found = array ? array->first : NULL; found; found = found->next)
        number++;
    return number;
}
