"""Head volumes: NIfTI, MetaImage, NRRD and DICOM in and out, geometry, intensities, alignment to one grid."""
