/* A resize on the device for the host's own use. */
#include "host/harness/resized.h"
#include "host/base/status.h"

tr_status tr_image_resized(tr_device *device, const tr_image_spec *spec, const tr_image *image, uint8_t *out) {
  int h, w;
  TR_TRY(tr_resize_shape(spec, image->h, image->w, &h, &w));
  size_t bytes = (size_t)image->h * (size_t)image->w * (size_t)image->channels;
  size_t out_bytes = (size_t)h * (size_t)w * (size_t)image->channels;
  void *src = NULL, *dst = NULL, *scratch = NULL;
  tr_status status = tr_device_alloc(device, bytes, &src);
  if (status == TR_OK)
    status = tr_device_alloc(device, out_bytes, &dst);
  if (status == TR_OK)
    status = tr_device_alloc(device, tr_resize_scratch(spec, image->h, image->w, image->channels), &scratch);
  if (status == TR_OK)
    status = tr_device_upload(device, src, image->pixels, bytes);
  if (status == TR_OK)
    status = tr_resize(device, &(tr_resize_args){.src = src,
                                                 .src_h = image->h,
                                                 .src_w = image->w,
                                                 .channels = image->channels,
                                                 .spec = *spec,
                                                 .dst_u8 = dst,
                                                 .scratch = scratch});
  if (status == TR_OK)
    status = tr_device_download(device, out, dst, out_bytes);
  if (status == TR_OK)
    status = tr_device_sync(device);
  tr_device_free(device, src);
  tr_device_free(device, dst);
  tr_device_free(device, scratch);
  return status;
}
