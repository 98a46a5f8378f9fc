"""Detection: Fast R-CNN on any timm backbone, annotations as people have them, COCO's scores."""
