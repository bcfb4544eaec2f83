/* Runs endpoints of a SavedModel by TensorFlow's C API, with the loader that TF Serving uses: serve DIRECTORY PLAN.
 *
 * The plan is a text file. Tensors are files of raw numbers:
 *
 *   feed OPERATION INDEX TYPE RANK SIZE ... FILE     an input; strings are read from FILE.0, FILE.1, ...
 *   fetch OPERATION INDEX FILE                       an output, and the file to write
 *   run                                              runs the endpoint and prints "ok" or the error
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST 8

static void stop(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static char *read_file(const char *name, size_t *size) {
  FILE *file = fopen(name, "rb");
  if (!file) stop(name, "cannot be read");
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*size + 1);
  if (fread(data, 1, *size, file) != *size) stop(name, "cannot be read");
  fclose(file);
  return data;
}

static TF_Output output_of(TF_Graph *graph, FILE *plan) {
  char name[1000];
  int index;
  if (fscanf(plan, "%999s %d", name, &index) != 2) stop("plan", "an operation and an index were expected");
  TF_Operation *operation = TF_GraphOperationByName(graph, name);
  if (!operation) stop(name, "there is no such operation");
  return (TF_Output){operation, index};
}

static TF_Tensor *tensor_of(FILE *plan) {
  int type, rank;
  int64_t sizes[MOST], count = 1;
  char name[1000];
  if (fscanf(plan, "%d %d", &type, &rank) != 2) stop("plan", "a type and a rank were expected");
  for (int axis = 0; axis < rank; axis++) {
    long long size;
    if (fscanf(plan, "%lld", &size) != 1) stop("plan", "a size was expected");
    count *= sizes[axis] = size;
  }
  if (fscanf(plan, "%999s", name) != 1) stop("plan", "a file was expected");
  if (type != TF_STRING) {
    size_t size;
    char *data = read_file(name, &size);
    TF_Tensor *tensor = TF_AllocateTensor(type, sizes, rank, size);
    memcpy(TF_TensorData(tensor), data, size);
    free(data);
    return tensor;
  }
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, sizes, rank, count * sizeof(TF_TString));
  TF_TString *strings = TF_TensorData(tensor);
  for (int64_t index = 0; index < count; index++) {
    char part[1100];
    size_t size;
    snprintf(part, sizeof part, "%s.%lld", name, (long long)index);
    char *data = read_file(part, &size);
    TF_StringInit(&strings[index]);
    TF_StringCopy(&strings[index], data, size);
    free(data);
  }
  return tensor;
}

int main(int count, char **arguments) {
  if (count != 3) stop(arguments[0], "DIRECTORY PLAN");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(TF_NewSessionOptions(), NULL, arguments[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) stop(arguments[1], TF_Message(status));

  FILE *plan = fopen(arguments[2], "r");
  if (!plan) stop(arguments[2], "cannot be read");
  TF_Output feeds[MOST], fetches[MOST];
  TF_Tensor *given[MOST], *gotten[MOST];
  char files[MOST][1000], word[10];
  int feed_count = 0, fetch_count = 0;
  while (fscanf(plan, "%9s", word) == 1) {
    if (!strcmp(word, "feed")) {
      feeds[feed_count] = output_of(graph, plan);
      given[feed_count++] = tensor_of(plan);
    } else if (!strcmp(word, "fetch")) {
      fetches[fetch_count] = output_of(graph, plan);
      if (fscanf(plan, "%999s", files[fetch_count++]) != 1) stop("plan", "a file was expected");
    } else {
      TF_SessionRun(session, NULL, feeds, given, feed_count, fetches, gotten, fetch_count, NULL, 0, NULL, status);
      if (TF_GetCode(status) == TF_OK) {
        printf("ok\n");
        for (int index = 0; index < fetch_count; index++) {
          FILE *file = fopen(files[index], "wb");
          if (!file) stop(files[index], "cannot be written");
          fwrite(TF_TensorData(gotten[index]), 1, TF_TensorByteSize(gotten[index]), file);
          fclose(file);
        }
      } else {
        for (const char *letter = TF_Message(status); *letter; letter++) putchar(*letter == '\n' ? ' ' : *letter);
        putchar('\n');
      }
      feed_count = fetch_count = 0;
    }
  }
  return 0;
}
